// The part of Gradle's and the Android plugin's Kotlin DSL that edgebuild's build files use, with
// the types of their documentation: build files are compiled as bodies of functions of a Project.
package dsl

import dev.edgebuild.gradle.EdgebuildTask
import java.io.File

class PluginSpec {
    infix fun version(version: String): PluginSpec = this
    infix fun apply(apply: Boolean): PluginSpec = this
}

class Plugins {
    fun id(id: String): PluginSpec = PluginSpec()
}

class Repositories {
    fun google() {}
    fun mavenCentral() {}
    fun gradlePluginPortal() {}
}

class Dependencies {
    fun implementation(notation: Any) {}
}

enum class JavaVersion { VERSION_11 }

class DefaultConfig {
    var applicationId: String? = null
    var minSdk: Int? = null
    var targetSdk: Int? = null
    var versionCode: Int? = null
    var versionName: String? = null
    fun consumerProguardFiles(vararg files: Any) {}
    fun ndk(action: Ndk.() -> Unit) {}
}

class Ndk {
    val abiFilters: MutableSet<String> = HashSet()
}

class Cmake {
    var path: File? = null
}

class ExternalNativeBuild {
    fun cmake(action: Cmake.() -> Unit) {}
}

class CompileOptions {
    var sourceCompatibility: JavaVersion = JavaVersion.VERSION_11
    var targetCompatibility: JavaVersion = JavaVersion.VERSION_11
}

class AndroidResources {
    val noCompress: MutableCollection<String> = ArrayList()
}

class Directories {
    fun srcDir(dir: Any) {}
}

class SourceSet {
    val assets = Directories()
    val kotlin = Directories()
}

class SourceSets {
    fun getByName(name: String, action: SourceSet.() -> Unit) {}
}

class AndroidExtension {
    var namespace: String? = null
    var compileSdk: Int? = null
    val sourceSets = SourceSets()
    fun externalNativeBuild(action: ExternalNativeBuild.() -> Unit) {}
    fun defaultConfig(action: DefaultConfig.() -> Unit) {}
    fun compileOptions(action: CompileOptions.() -> Unit) {}
    fun androidResources(action: AndroidResources.() -> Unit) {}
}

class Property<T> {
    fun set(value: T) {}
}

class CompilerOptions {
    val jvmTarget = Property<org.jetbrains.kotlin.gradle.dsl.JvmTarget>()
}

class KotlinExtension {
    fun compilerOptions(action: CompilerOptions.() -> Unit) {}
}

class Task {
    fun dependsOn(vararg tasks: Any) {}
}

class TaskProvider<T> {
    operator fun invoke(action: T.() -> Unit) {}
    fun get(): T = throw UnsupportedOperationException()
}

class Tasks {
    val edgebuildModel = TaskProvider<EdgebuildTask>()
    fun named(name: String, action: Task.() -> Unit) {}
}

class Project {
    val tasks = Tasks()
    fun plugins(action: Plugins.() -> Unit) {}
    fun android(action: AndroidExtension.() -> Unit) {}
    fun kotlin(action: KotlinExtension.() -> Unit) {}
    fun dependencies(action: Dependencies.() -> Unit) {}
    fun file(path: Any): File = File(path.toString())
}

class RootProject {
    var name: String = ""
}

class PluginManagement {
    fun includeBuild(path: String) {}
    fun repositories(action: Repositories.() -> Unit) {}
}

class DependencyResolutionManagement {
    fun repositories(action: Repositories.() -> Unit) {}
}

class Settings {
    val rootProject = RootProject()
    fun pluginManagement(action: PluginManagement.() -> Unit) {}
    fun dependencyResolutionManagement(action: DependencyResolutionManagement.() -> Unit) {}
    fun include(vararg paths: String) {}
}
