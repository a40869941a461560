import android.content.Context
import com.example.cpu.Sharp
import com.example.gpu2.StringModel
import com.example.npu.Mixed
import com.example.npu.compiled.Mixed as CompiledMixed
import com.google.ai.edge.litert.JniHandle
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

fun show(key: String, value: Any?) = println("$key=$value")

fun set(name: String, value: Boolean) = System.setProperty("stub.$name", value.toString())

fun floats(name: String): FloatArray {
    val bytes = File(System.getProperty("stub.data"), name).readBytes()
    val view = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(view.remaining()).also { view.get(it) }
}

fun main() {
    val context = Context()
    Sharp.load(context).use {
        show("cpu.accelerator", it.accelerator)
        show("cpu.options", Interpreter.last)
        show("cpu.output", it.run(floats("digits.f32")).toList())
        show("cpu.labels", Sharp.Outputs.ALL[0].labels.map { label -> label.map { c -> c.code } })
        show("cpu.name", Sharp.Inputs.ALL[0].name.map { c -> c.code })
    }
    for (fault in listOf("none", "noNpu", "noAccelerator")) {
        set(fault, true)
        Mixed.load(context).use { model ->
            show("npu.$fault.accelerator", model.accelerator)
            show("npu.$fault.fallbacks", model.fallbacks)
            val outputs = model.run(listOf(floats("a.f32"), floats("b.f32"), floats("c.f32")))
            outputs.forEachIndexed { i, values -> show("npu.$fault.output$i", values.toList()) }
        }
        show("npu.$fault.left", JniHandle.open)
        set(fault, false)
    }
    for (fault in listOf("none", "noNpu", "otherChip")) {
        set(fault, true)
        CompiledMixed.load(context).use { model ->
            show("compiled.$fault.accelerator", model.accelerator)
            show("compiled.$fault.fallbacks", model.fallbacks)
            val outputs = model.run(listOf(floats("a.f32"), floats("b.f32"), floats("c.f32")))
            outputs.forEachIndexed { i, values -> show("compiled.$fault.output$i", values.toList()) }
        }
        show("compiled.$fault.left", JniHandle.open)
        set(fault, false)
    }
    StringModel.load(context).use {
        show("gpu2.accelerator", it.accelerator)
        show("gpu2.output", it.run(floats("digits.f32")).toList())
    }
    show("gpu2.left", JniHandle.open)
}
