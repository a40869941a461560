package org.tensorflow.lite.gpu;

import java.io.Closeable;

public class CompatibilityList implements Closeable {
    public boolean isDelegateSupportedOnThisDevice() {
        return !Boolean.getBoolean("stub.noGpu");
    }

    public GpuDelegateFactory.Options getBestOptionsForThisDevice() {
        return new GpuDelegateFactory.Options();
    }

    @Override
    public void close() {}
}
