package org.tensorflow.lite.gpu;

import org.tensorflow.lite.Delegate;

public class GpuDelegate implements Delegate {
    public static int open = 0;

    public GpuDelegate(GpuDelegateFactory.Options options) {
        if (Boolean.getBoolean("stub.noLibrary")) throw new UnsatisfiedLinkError("no tensorflowlite_gpu_jni");
        open++;
    }

    @Override
    public long getNativeHandle() {
        return 1;
    }

    @Override
    public void close() {
        open--;
    }
}
