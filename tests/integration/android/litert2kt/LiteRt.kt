package com.google.ai.edge.litert

import android.content.Context
import android.content.res.AssetManager
import java.nio.ByteBuffer
import java.nio.ByteOrder
import stub.Child

class LiteRtException(message: String) : Exception(message)

enum class Accelerator(val value: Int) { NONE(0), CPU(1), GPU(2), NPU(4) }

abstract class JniHandle : AutoCloseable {
    protected var isClosed = false

    init {
        open++
    }

    override fun close() {
        if (!isClosed) open--
        isClosed = true
    }

    companion object {
        @JvmField
        var open = 0
    }
}

interface NpuAcceleratorProvider {
    fun isDeviceSupported(): Boolean
    fun isLibraryReady(): Boolean
    suspend fun downloadLibrary()
    fun getLibraryDir(): String
}

class BuiltinNpuAcceleratorProvider @JvmOverloads constructor(
    private val context: Context, private val checker: Any? = null
) : NpuAcceleratorProvider {
    override fun isDeviceSupported() = !java.lang.Boolean.getBoolean("stub.noNpu")
    override fun isLibraryReady() = true
    override suspend fun downloadLibrary() {}
    override fun getLibraryDir() = "/"
}

class Environment private constructor() : JniHandle() {
    enum class Option { CompilerPluginLibraryDir, DispatchLibraryDir }

    companion object {
        @JvmStatic
        @JvmOverloads
        fun create(options: Map<Option, String> = mapOf()): Environment = Environment()

        @JvmStatic
        @JvmOverloads
        fun create(
            npuAcceleratorProvider: NpuAcceleratorProvider, options: Map<Option, String> = mapOf()
        ): Environment = Environment()
    }
}

class TensorBuffer internal constructor(internal val info: Child.Info) : JniHandle() {
    internal val bytes: ByteBuffer = ByteBuffer.allocate(info.bytes).order(ByteOrder.nativeOrder())

    fun writeInt(data: IntArray) = write("INT32", data.size * 4) { it.asIntBuffer().put(data) }
    fun writeFloat(data: FloatArray) = write("FLOAT32", data.size * 4) { it.asFloatBuffer().put(data) }
    fun writeInt8(data: ByteArray) = write("INT8", data.size) { it.put(data) }
    fun writeLong(data: LongArray) = write("INT64", data.size * 8) { it.asLongBuffer().put(data) }
    fun writeBoolean(data: BooleanArray) =
        write("BOOL", data.size) { for (b in data) it.put(if (b) 1 else 0) }

    fun readInt() = IntArray(info.bytes / 4).also { view("INT32").asIntBuffer().get(it) }
    fun readFloat() = FloatArray(info.bytes / 4).also { view("FLOAT32").asFloatBuffer().get(it) }
    fun readInt8() = ByteArray(info.bytes).also { view("INT8").get(it) }
    fun readLong() = LongArray(info.bytes / 8).also { view("INT64").asLongBuffer().get(it) }
    fun readBoolean(): BooleanArray {
        val view = view("BOOL")
        return BooleanArray(info.bytes) { view.get() != 0.toByte() }
    }

    private fun view(type: String): ByteBuffer {
        if (type != info.type) throw LiteRtException("the buffer is ${info.type}, not $type")
        return (bytes.duplicate() as ByteBuffer).order(ByteOrder.nativeOrder()).also { it.clear() }
    }

    private fun write(type: String, size: Int, put: (ByteBuffer) -> Unit) {
        val view = view(type)
        if (size > info.bytes) throw LiteRtException("$size bytes into ${info.bytes}")
        put(view)
    }
}

/**
 * A file with [DISPATCH_OP] in it stands for one that was compiled for a chip's NPU, all but some
 * operators: LiteRT 2.3.0 refuses it without the CPU, and without that NPU it fails when it runs.
 */
class CompiledModel private constructor(private val child: Child, private val cannotRun: Boolean) : JniHandle() {
    data class CpuOptions(
        val numThreads: Int? = null,
        val xnnPackFlags: Int? = null,
        val xnnPackWeightCachePath: String? = null,
    )

    class Options constructor(internal vararg val accelerators: Accelerator) {
        var cpuOptions: CpuOptions? = null
    }

    private val infos = child.infos()
    private val inputs get() = infos.filter { it.isInput }
    private val outputs get() = infos.filter { !it.isInput }

    @JvmOverloads
    fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = inputs.map { TensorBuffer(it) }

    @JvmOverloads
    fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = outputs.map { TensorBuffer(it) }

    fun createInputBuffer(inputName: String, signature: String? = null): TensorBuffer =
        TensorBuffer(named(inputs, inputName))

    fun createOutputBuffer(outputName: String, signature: String? = null): TensorBuffer =
        TensorBuffer(named(outputs, outputName))

    @JvmOverloads
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0) {
        if (isClosed) throw IllegalStateException("closed")
        if (cannotRun) throw LiteRtException("Failed to invoke the compiled model")
        for (buffer in inputs + outputs) buffer.bytes.clear()
        child.run(inputs.map { it.bytes }, outputs.map { it.bytes })
    }

    fun run(
        inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String? = null
    ) {
        val ordered = { all: List<Child.Info>, given: Map<String, TensorBuffer> ->
            all.map { given[it.signatureName] ?: throw LiteRtException("no ${it.signatureName}") }
        }
        run(ordered(this.inputs, inputs), ordered(this.outputs, outputs))
    }

    private fun named(infos: List<Child.Info>, name: String): Child.Info =
        infos.firstOrNull { it.signatureName == name } ?: throw LiteRtException("no tensor '$name'")

    companion object {
        private const val DISPATCH_OP = "DISPATCH_OP"

        @JvmStatic
        @JvmOverloads
        fun create(
            assetManager: AssetManager,
            assetName: String,
            options: Options = Options(Accelerator.CPU),
            optionalEnv: Environment? = null,
        ): CompiledModel {
            if (java.lang.Boolean.getBoolean("stub.noAccelerator") && Accelerator.CPU !in options.accelerators) {
                throw LiteRtException("Failed to compile model")
            }
            val bytes = assetManager.open(assetName).use { it.readBytes() }
            val isCompiled = DISPATCH_OP in String(bytes, Charsets.ISO_8859_1)
            if (isCompiled && Accelerator.CPU !in options.accelerators) {
                throw LiteRtException("Some ops are not accelerated.")
            }
            val hasChip = Accelerator.NPU in options.accelerators && !java.lang.Boolean.getBoolean("stub.otherChip")
            val direct = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder())
            direct.put(bytes)
            direct.flip()
            return CompiledModel(Child(direct), cannotRun = isCompiled && !hasChip)
        }
    }
}
