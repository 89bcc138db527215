// What Excalidraw brings along and makes images smaller with.
declare module 'pica'
declare module 'image-blob-reduce'
