package org.tensorflow.lite.nnapi;

import org.tensorflow.lite.Delegate;

public class NnApiDelegate implements Delegate, AutoCloseable {
    public static int open = 0;

    public static final class Options {
        public static final int EXECUTION_PREFERENCE_SUSTAINED_SPEED = 2;

        public Options setExecutionPreference(int preference) {
            return this;
        }

        public Options setUseNnapiCpu(boolean enable) {
            return this;
        }
    }

    public NnApiDelegate(Options options) {
        open++;
    }

    public boolean hasErrors() {
        return getNnapiErrno() != 0;
    }

    public int getNnapiErrno() {
        return Integer.getInteger("stub.nnapiErrno", 0);
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
