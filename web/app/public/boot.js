// Before the bundle: Excalidraw takes its fonts from /fonts of this site, never from elsewhere.
window.EXCALIDRAW_ASSET_PATH = '/'
