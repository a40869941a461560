package dev.edgebuild.gradle;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.gradle.api.DefaultTask;
import org.gradle.api.GradleException;
import org.gradle.api.file.ConfigurableFileCollection;
import org.gradle.api.file.FileCollection;
import org.gradle.api.tasks.CacheableTask;
import org.gradle.api.tasks.Input;
import org.gradle.api.tasks.InputFile;
import org.gradle.api.tasks.InputFiles;
import org.gradle.api.tasks.Internal;
import org.gradle.api.tasks.OutputDirectory;
import org.gradle.api.tasks.PathSensitive;
import org.gradle.api.tasks.PathSensitivity;
import org.gradle.api.tasks.TaskAction;

/**
 * Builds a model with {@code edgebuild build MODEL --target TARGET} for the app's assets.
 *
 * <p>It runs when the model, the target, the options, a file that they name or edgebuild's version
 * has changed. A budget that is missed, or any other failure, fails the build with edgebuild's own
 * message. Only the plain getters and setters of every Gradle since 4 are used.
 */
@CacheableTask
public class EdgebuildTask extends DefaultTask {
    private final File projectDirectory = getProject().getProjectDir();
    private final ConfigurableFileCollection inputFiles = getProject().files();
    private final FileCollection projectFile =
        getProject().files(new File(projectDirectory, "edgebuild.toml"));
    private final File scratch = new File(projectDirectory, "build/tmp/" + getName());
    private File model;
    private String modelName;
    private String target;
    private List<String> options = new ArrayList<>();
    private List<String> command = Collections.singletonList("edgebuild");
    private File outputDirectory = new File(projectDirectory, "build/edgebuild/" + getName());

    public EdgebuildTask() {
        setGroup("build");
        setDescription("Builds a model with edgebuild for the app's assets.");
    }

    /** The model: .tflite, .keras or .h5. */
    @InputFile
    @PathSensitive(PathSensitivity.NONE)
    public File getModel() {
        return model;
    }

    public void setModel(File model) {
        this.model = model;
    }

    /** Names the asset and the wrapper; by default the model's file name. */
    @Input
    public String getModelName() {
        if (modelName != null || model == null) return modelName == null ? "" : modelName;
        return model.getName().replaceFirst("\\.[^.]*$", "");
    }

    public void setModelName(String modelName) {
        this.modelName = modelName;
    }

    /** A target's name, or a .toml file's path (add the file to {@link #getInputFiles}). */
    @Input
    public String getTarget() {
        return target;
    }

    public void setTarget(String target) {
        this.target = target;
    }

    /** Further options of {@code edgebuild build}, for example {@code --max-flash 1MiB}. */
    @Input
    public List<String> getOptions() {
        return options;
    }

    public void setOptions(List<String> options) {
        this.options = new ArrayList<>(options);
    }

    /** The files that the options name: data, recipes, profiles. */
    @InputFiles
    @PathSensitive(PathSensitivity.RELATIVE)
    public ConfigurableFileCollection getInputFiles() {
        return inputFiles;
    }

    /** The project's edgebuild.toml, which edgebuild reads where there is one. */
    @InputFiles
    @PathSensitive(PathSensitivity.NAME_ONLY)
    public FileCollection getProjectFile() {
        return projectFile;
    }

    /** How to call edgebuild; a virtual environment's is a path. */
    @Internal
    public List<String> getCommand() {
        return command;
    }

    public void setCommand(List<String> command) {
        this.command = new ArrayList<>(command);
    }

    /** What {@code edgebuild --version} says: another version may make other files. */
    @Input
    public String getToolVersion() {
        EdgebuildProcess done = EdgebuildProcess.run(command("--version"), projectDirectory);
        if (done.exitCode != 0) throw new GradleException(done.failure("edgebuild --version"));
        return done.output.trim();
    }

    /**
     * Holds {@code assets/}, {@code kotlin/}, {@code report.json} and, where there is a wrapper,
     * {@code consumer-rules.pro}; emptied before a build.
     */
    @OutputDirectory
    public File getOutputDirectory() {
        return outputDirectory;
    }

    public void setOutputDirectory(File outputDirectory) {
        this.outputDirectory = outputDirectory;
    }

    /** The folder for the app's assets: the model. */
    @Internal
    public File getAssetsDirectory() {
        return new File(outputDirectory, "assets");
    }

    /** The folder for the app's sources: the wrapper, for targets that make one. */
    @Internal
    public File getKotlinDirectory() {
        return new File(outputDirectory, "kotlin");
    }

    @TaskAction
    public void build() throws IOException {
        // A folder for each target, so that edgebuild's own cache stays when one is tried out.
        File out = new File(scratch, (getModelName() + "-" + target).replaceAll("[^\\w.-]", "_"));
        List<String> arguments = command(
            "build", model.getPath(), "--target", target, "--name", getModelName(),
            "--out", out.getPath());
        arguments.addAll(options);
        EdgebuildProcess done = EdgebuildProcess.run(arguments, projectDirectory);
        getLogger().info(done.output);
        if (done.exitCode != 0) throw new GradleException(done.failure("edgebuild build"));
        BuildFolder.of(out).copyTo(outputDirectory, getModelName());
    }

    private List<String> command(String... arguments) {
        List<String> all = new ArrayList<>(command);
        Collections.addAll(all, arguments);
        return all;
    }
}
