plugins {
    id("com.android.application")
    id("dev.edgebuild")
}

tasks.edgebuildModel {
    model = file("model.tflite")
    modelName = "classifier"
    target = "android-cpu"
    options = listOf("--max-flash", "1MiB")
}

// The step before everything that AGP does for a variant, so before assets are merged.
tasks.named("preBuild") { dependsOn(tasks.edgebuildModel) }

android {
    namespace = "com.example.app"
    compileSdk = 36

    defaultConfig {
        applicationId = "com.example.app"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }

    sourceSets.getByName("main") {
        assets.srcDir(tasks.edgebuildModel.get().assetsDirectory)
        kotlin.srcDir(tasks.edgebuildModel.get().kotlinDirectory)
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.3.2")
}
