package dev.edgebuild.gradle;

import org.gradle.api.Plugin;
import org.gradle.api.Project;

/** Adds the task {@code edgebuildModel}; further models are further tasks of the same type. */
public class EdgebuildPlugin implements Plugin<Project> {
    @Override
    public void apply(Project project) {
        project.getTasks().create("edgebuildModel", EdgebuildTask.class);
    }
}
