package org.tensorflow.lite;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import stub.Child;

public final class Interpreter implements AutoCloseable {
    public static int open = 0;
    public static int resets = 0;
    public static String last = "";

    public static class Options {
        int threads = -1;
        boolean xnnpack = true;
        final List<Delegate> delegates = new ArrayList<>();

        public Options setNumThreads(int numThreads) {
            threads = numThreads;
            return this;
        }

        public Options setUseXNNPACK(boolean useXNNPACK) {
            xnnpack = useXNNPACK;
            return this;
        }

        public Options addDelegate(Delegate delegate) {
            delegates.add(delegate);
            return this;
        }
    }

    private final Child child;
    private final List<Child.Info> inputs = new ArrayList<>();
    private final List<Child.Info> outputs = new ArrayList<>();
    private final boolean delegated;
    private boolean closed;

    public Interpreter(ByteBuffer model, Options options) {
        if (!options.delegates.isEmpty() && Boolean.getBoolean("stub.delegateFails")) {
            throw new IllegalArgumentException("Internal error: Failed to apply delegate");
        }
        if (options.xnnpack && Boolean.getBoolean("stub.noXnnpack")) {
            throw new IllegalArgumentException("Internal error: Failed to apply XNNPACK delegate");
        }
        delegated = !options.delegates.isEmpty();
        last = "threads " + options.threads + " xnnpack " + options.xnnpack;
        try {
            child = new Child(model);
            for (Child.Info info : child.infos()) (info.isInput ? inputs : outputs).add(info);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        open++;
    }

    public int getInputTensorCount() {
        return inputs.size();
    }

    public int getOutputTensorCount() {
        return outputs.size();
    }

    public Tensor getInputTensor(int index) {
        return Tensor.of(inputs.get(index));
    }

    public Tensor getOutputTensor(int index) {
        return Tensor.of(outputs.get(index));
    }

    public void runForMultipleInputsOutputs(Object[] in, Map<Integer, Object> out) {
        if (closed) throw new IllegalStateException("Internal error: The Interpreter is closed.");
        if (delegated && Boolean.getBoolean("stub.runFails")) {
            throw new IllegalArgumentException("Internal error: Failed to run on the given Interpreter");
        }
        List<ByteBuffer> sources = new ArrayList<>();
        List<ByteBuffer> targets = new ArrayList<>();
        for (int i = 0; i < inputs.size(); i++) {
            sources.add(sized((ByteBuffer) in[i], inputs.get(i)));
        }
        for (int i = 0; i < outputs.size(); i++) {
            targets.add(sized((ByteBuffer) out.get(i), outputs.get(i)));
        }
        try {
            child.run(sources, targets);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    public void resetVariableTensors() {
        resets++;
    }

    private static ByteBuffer sized(ByteBuffer buffer, Child.Info info) {
        if (buffer.remaining() != info.bytes) {
            throw new IllegalArgumentException(
                "Cannot copy from a TensorFlowLite tensor with " + info.bytes
                    + " bytes to a Java Buffer with " + buffer.remaining() + " bytes.");
        }
        return buffer;
    }

    @Override
    public void close() {
        if (!closed) open--;
        closed = true;
    }
}
