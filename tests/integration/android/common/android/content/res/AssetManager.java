package android.content.res;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;

/** Assets are the files of the folder "stub.assets"; "stub.compressed" makes them unmappable. */
public final class AssetManager {
    static final int OFFSET = 100;

    private static File file(String name) throws FileNotFoundException {
        File file = new File(System.getProperty("stub.assets"), name);
        if (!file.isFile()) throw new FileNotFoundException(name);
        return file;
    }

    public InputStream open(String name) throws IOException {
        return new ByteArrayInputStream(Files.readAllBytes(file(name).toPath()));
    }

    /** As in an APK, the asset stands in the middle of a larger file. */
    public AssetFileDescriptor openFd(String name) throws IOException {
        byte[] content = Files.readAllBytes(file(name).toPath());
        if (Boolean.getBoolean("stub.compressed")) {
            throw new FileNotFoundException("This file can not be opened as a file descriptor");
        }
        File apk = File.createTempFile("stub", ".apk");
        apk.deleteOnExit();
        try (OutputStream out = Files.newOutputStream(apk.toPath())) {
            out.write(new byte[OFFSET]);
            out.write(content);
            out.write(new byte[OFFSET]);
        }
        return new AssetFileDescriptor(apk, OFFSET, content.length);
    }
}
