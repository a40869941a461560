package dev.edgebuild.gradle;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.gradle.api.GradleException;

/** A finished call of edgebuild. */
final class EdgebuildProcess {
    final int exitCode;
    final String output;
    private final String errors;

    private EdgebuildProcess(int exitCode, String output, String errors) {
        this.exitCode = exitCode;
        this.output = output;
        this.errors = errors;
    }

    /** Runs {@code command} to its end; it is stopped when the build is. */
    static EdgebuildProcess run(List<String> command, File directory) {
        ProcessBuilder builder = new ProcessBuilder(command).directory(directory);
        builder.environment().put("NO_COLOR", "1");
        builder.environment().put("PYTHONIOENCODING", "utf-8");
        Process process;
        try {
            process = builder.start();
            process.getOutputStream().close();
        } catch (IOException error) {
            throw new GradleException(
                "cannot start " + command.get(0) + ": " + error.getMessage()
                    + "\ntry: pip install edgebuild, or set the task's command to its path", error);
        }
        try {
            CompletableFuture<String> errors =
                CompletableFuture.supplyAsync(() -> text(process.getErrorStream()));
            String output = text(process.getInputStream());
            return new EdgebuildProcess(process.waitFor(), output, errors.join());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new GradleException("edgebuild was interrupted", error);
        } finally {
            process.destroy();
        }
    }

    /** edgebuild's own message, from "error:" on; all that it said when there is none. */
    String failure(String what) {
        int start = errors.startsWith("error:") ? 0 : errors.indexOf("\nerror:") + 1;
        String message = start > 0 || errors.startsWith("error:") ? errors.substring(start) : errors;
        return what + " failed with exit code " + exitCode + "\n" + message.trim();
    }

    private static String text(InputStream stream) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        byte[] part = new byte[8192];
        try {
            for (int n = stream.read(part); n >= 0; n = stream.read(part)) bytes.write(part, 0, n);
            return bytes.toString("UTF-8");
        } catch (IOException error) {
            throw new GradleException("cannot read edgebuild's output: " + error.getMessage(), error);
        }
    }
}
