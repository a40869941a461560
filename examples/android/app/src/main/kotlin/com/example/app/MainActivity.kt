package com.example.app

import android.app.Activity
import android.os.Bundle
import android.widget.TextView
import dev.edgebuild.classifier.Classifier

/** Runs the model once on zeros and shows where it ran. */
class MainActivity : Activity() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        Classifier.load(this).use { model ->
            model.run()
            val text = TextView(this)
            text.text = "ran on ${model.accelerator}\n${model.fallbacks.joinToString("\n")}"
            setContentView(text)
        }
    }
}
