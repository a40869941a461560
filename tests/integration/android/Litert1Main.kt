import android.content.Context
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.gpu.GpuDelegate
import org.tensorflow.lite.nnapi.NnApiDelegate
import dev.edgebuild.digits_net_2.DigitsNet2
import dev.edgebuild.digits_net_2.DigitsNet2Accelerator
import com.example.nn.Mixed

fun show(key: String, value: Any?) = println("$key=$value")

fun refusal(key: String, body: () -> Unit) = try {
    body()
    show(key, "nothing thrown")
} catch (error: Exception) {
    show(key, "${error.javaClass.simpleName}: ${error.message?.replace("\n", " | ")}")
}

fun set(name: String, value: Boolean) = System.setProperty("stub.$name", value.toString())

fun floats(name: String): FloatArray {
    val bytes = File(System.getProperty("stub.data"), name).readBytes()
    val view = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(view.remaining()).also { view.get(it) }
}

fun digits(context: Context) {
    DigitsNet2.load(context).use { model ->
        show("gpu.accelerator", model.accelerator)
        show("gpu.fallbacks", model.fallbacks)
        show("gpu.options", Interpreter.last)
        show("gpu.output", model.run(floats("digits.f32")).toList())
        val again = model.buffer(DigitsNet2.Outputs.ALL[0])
        show("gpu.raw", (0 until again.capacity()).map { again.get(it) })
        show("gpu.best", model.best(DigitsNet2.Outputs.ALL[0], 2))
        show("gpu.open", "${Interpreter.open} ${GpuDelegate.open}")
        show("gpu.resets", Interpreter.resets)
        model.close()
        refusal("closed") { model.run() }
    }
    show("gpu.left", "${Interpreter.open} ${GpuDelegate.open}")
    set("compressed", true)
    DigitsNet2.load(context).use { show("compressed.output", it.run(floats("digits.f32")).toList()) }
    set("compressed", false)
    for (fault in listOf("noGpu", "noLibrary", "delegateFails", "runFails")) {
        set(fault, true)
        DigitsNet2.load(context).use {
            show("$fault.accelerator", it.accelerator)
            show("$fault.fallbacks", it.fallbacks)
            show("$fault.output", it.run(floats("digits.f32")).toList())
        }
        show("$fault.left", "${Interpreter.open} ${GpuDelegate.open}")
        if (fault == "noGpu") {
            refusal("only") {
                DigitsNet2.load(context, DigitsNet2.Options(listOf(DigitsNet2Accelerator.GPU)))
            }
        }
        set(fault, false)
    }
    set("noXnnpack", true)
    DigitsNet2.load(context, DigitsNet2.Options(threads = 1)).use {
        show("noXnnpack.accelerator", it.accelerator)
        show("noXnnpack.options", Interpreter.last)
    }
    set("noXnnpack", false)
}

fun refusals(context: Context) {
    DigitsNet2.load(context).use { model ->
        refusal("size") { model.run(FloatArray(3)) }
        refusal("nan") { model.run(FloatArray(4) { Float.NaN }) }
    }
    val asset = File(System.getProperty("stub.assets"), DigitsNet2.ASSET)
    val bytes = asset.readBytes()
    asset.writeBytes(File(System.getProperty("stub.assets"), Mixed.ASSET).readBytes())
    refusal("other") { DigitsNet2.load(context) }
    show("other.left", "${Interpreter.open} ${GpuDelegate.open}")
    asset.delete()
    refusal("missing") { DigitsNet2.load(context) }
    asset.writeBytes(bytes)
}

fun mixed(context: Context) {
    Mixed.load(context).use { model ->
        show("nnapi.accelerator", model.accelerator)
        show("nnapi.open", "${NnApiDelegate.open}")
        val outputs = model.run(listOf(floats("a.f32"), floats("b.f32"), floats("c.f32")))
        outputs.forEachIndexed { i, values -> show("nnapi.output$i", values.toList()) }
        for ((i, tensor) in Mixed.Inputs.ALL.withIndex()) {
            val bytes = ByteArray(tensor.bytes)
            model.buffer(tensor).duplicate().get(bytes)
            show("nnapi.input$i", bytes.toList())
        }
    }
    for ((name, value) in listOf("nnapiErrno" to "4", "runFails" to "true")) {
        System.setProperty("stub.$name", value)
        Mixed.load(context).use {
            show("nnapi.$name.accelerator", it.accelerator)
            show("nnapi.$name.fallbacks", it.fallbacks)
        }
        show("nnapi.$name.left", "${Interpreter.open} ${NnApiDelegate.open}")
        System.clearProperty("stub.$name")
    }
}

fun main() {
    val context = Context()
    digits(context)
    refusals(context)
    mixed(context)
}
