import android.content.Context
import dev.edgebuild.small_net.jni.SmallNet
import java.io.File

fun main() {
    val input = File(System.getProperty("stub.data"), "input.bin").readBytes()
    SmallNet.load(Context()).use { model ->
        println("accelerator=${model.accelerator}")
        val size = SmallNet.Inputs.ALL[0].bytes
        for (sample in 0 until input.size / size) {
            val buffer = model.buffer(SmallNet.Inputs.ALL[0])
            buffer.clear()
            buffer.put(input, sample * size, size)
            model.run()
            val output = ByteArray(SmallNet.Outputs.ALL[0].bytes)
            model.buffer(SmallNet.Outputs.ALL[0]).duplicate().get(output)
            println("output$sample=${output.toList()}")
        }
    }
}
