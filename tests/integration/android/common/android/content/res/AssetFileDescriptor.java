package android.content.res;

import java.io.Closeable;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;

public class AssetFileDescriptor implements Closeable {
    private final FileInputStream stream;
    private final long start;
    private final long length;

    AssetFileDescriptor(File file, long start, long length) throws IOException {
        this.stream = new FileInputStream(file);
        this.start = start;
        this.length = length;
    }

    public FileDescriptor getFileDescriptor() {
        try {
            return stream.getFD();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    public long getStartOffset() {
        return start;
    }

    public long getDeclaredLength() {
        return length;
    }

    @Override
    public void close() throws IOException {
        stream.close();
    }
}
