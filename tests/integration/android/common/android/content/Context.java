package android.content;

import android.content.res.AssetManager;

public class Context {
    private final AssetManager assets = new AssetManager();

    public AssetManager getAssets() {
        return assets;
    }
}
