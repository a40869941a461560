package dev.edgebuild.gradle;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.gradle.api.GradleException;

/** The folder of one build of edgebuild. */
final class BuildFolder {
    private final Path folder;

    private BuildFolder(Path folder) {
        this.folder = folder;
    }

    /** The one build below {@code out}. */
    static BuildFolder of(File out) throws IOException {
        try (Stream<Path> children = Files.list(out.toPath())) {
            List<Path> builds = children
                .filter(child -> Files.isRegularFile(child.resolve("report.json")))
                .collect(Collectors.toList());
            if (builds.size() == 1) return new BuildFolder(builds.get(0));
            throw new GradleException(
                out + " holds " + builds.size() + " builds, not one: give one target and no --out");
        }
    }

    /** Empties {@code target} and fills it with assets, sources and the report. */
    void copyTo(File target, String name) throws IOException {
        Path to = target.toPath();
        delete(to);
        Files.createDirectories(to.resolve("assets"));
        Files.createDirectories(to.resolve("kotlin"));
        Path module = folder.resolve("android");
        Path main = module.resolve("src").resolve("main");
        if (Files.isDirectory(main.resolve("assets"))) {
            Files.copy(module.resolve("consumer-rules.pro"), to.resolve("consumer-rules.pro"));
            copy(main.resolve("assets"), to.resolve("assets"));
            copy(main.resolve("kotlin"), to.resolve("kotlin"));
        } else {
            Files.copy(folder.resolve("model.tflite"), to.resolve("assets").resolve(name + ".tflite"));
        }
        Files.copy(folder.resolve("report.json"), to.resolve("report.json"));
    }

    private static void copy(Path from, Path to) throws IOException {
        try (Stream<Path> files = Files.walk(from)) {
            for (Path file : (Iterable<Path>) files::iterator) {
                Path copy = to.resolve(from.relativize(file).toString());
                if (Files.isDirectory(file)) Files.createDirectories(copy);
                else Files.copy(file, copy);
            }
        }
    }

    private static void delete(Path folder) throws IOException {
        if (!Files.exists(folder)) return;
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : (Iterable<Path>) files.sorted(Comparator.reverseOrder())::iterator) {
                Files.delete(file);
            }
        }
    }
}
