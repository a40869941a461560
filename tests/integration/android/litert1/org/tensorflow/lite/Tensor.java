package org.tensorflow.lite;

import stub.Child;

public interface Tensor {
    DataType dataType();

    int[] shape();

    int numBytes();

    static Tensor of(Child.Info info) {
        return new Tensor() {
            @Override
            public DataType dataType() {
                return DataType.valueOf(info.type);
            }

            @Override
            public int[] shape() {
                return info.shape;
            }

            @Override
            public int numBytes() {
                return info.bytes;
            }
        };
    }
}
