package stub;

import java.io.File;
import java.io.IOException;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;

/** LiteRT in a Python process: what a model's tensors are, and its outputs for given inputs. */
public final class Child {
    /** One input or output as LiteRT describes it. */
    public static final class Info {
        public boolean isInput;
        public String type;
        public int bytes;
        public int[] shape;
        public String signatureName;
    }

    private final File model;

    public Child(ByteBuffer content) throws IOException {
        if (!(content instanceof MappedByteBuffer)
                && !(content.isDirect() && content.order() == ByteOrder.nativeOrder())) {
            throw new IllegalArgumentException(
                "Model ByteBuffer should be either a MappedByteBuffer of the model file, or a direct"
                    + " ByteBuffer using ByteOrder.nativeOrder()");
        }
        byte[] bytes = new byte[content.remaining()];
        content.duplicate().get(bytes);
        model = File.createTempFile("stub", ".tflite");
        model.deleteOnExit();
        Files.write(model.toPath(), bytes);
    }

    public List<Info> infos() throws IOException {
        List<Info> infos = new ArrayList<>();
        for (String line : call("info", null).split("\n")) {
            String[] words = line.trim().split(" ", 5);
            Info info = new Info();
            info.isInput = words[0].equals("input");
            info.type = words[1];
            info.bytes = Integer.parseInt(words[2]);
            String[] dims = words[3].split(",");
            info.shape = new int[dims.length];
            for (int i = 0; i < dims.length; i++) info.shape[i] = Integer.parseInt(dims[i]);
            info.signatureName = words.length > 4 ? words[4] : "";
            infos.add(info);
        }
        return infos;
    }

    /** Reads the inputs from their positions and fills the outputs from theirs. */
    public void run(List<ByteBuffer> inputs, List<ByteBuffer> outputs) throws IOException {
        int size = 0;
        for (ByteBuffer b : inputs) size += b.remaining();
        ByteBuffer all = ByteBuffer.allocate(size);
        for (ByteBuffer b : inputs) all.put(b.duplicate());
        File data = File.createTempFile("stub", ".bin");
        Files.write(data.toPath(), all.array());
        call("run", data);
        ByteBuffer result = ByteBuffer.wrap(Files.readAllBytes(data.toPath()));
        data.delete();
        for (ByteBuffer b : outputs) {
            byte[] part = new byte[b.remaining()];
            result.get(part);
            b.put(part);
        }
        if (result.hasRemaining()) throw new IllegalArgumentException("outputs are too small");
    }

    private String call(String what, File data) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(System.getProperty("stub.python"));
        command.add(System.getProperty("stub.child"));
        command.add(what);
        command.add(model.getPath());
        if (data != null) command.add(data.getPath());
        Process process = new ProcessBuilder(command)
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String text = new String(process.getInputStream().readAllBytes());
        try {
            if (process.waitFor() != 0) throw new IllegalArgumentException("LiteRT failed: " + text);
        } catch (InterruptedException e) {
            throw new IOException(e);
        }
        return text;
    }
}
