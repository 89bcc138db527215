// Makes images small enough for a board. The build puts this in the place of the two packages that Excalidraw would
// fetch for it with the first image: so it is there without a connection, too.

/** Above it, Excalidraw takes no image. */
export const BYTES_MAX = 4 * 1024 * 1024

/** The image with sides of `max` px at most, and no larger than Excalidraw takes. Fails for what is no image. */
export async function shrink(content: Blob, { max }: { max: number }): Promise<Blob> {
  const image = await createImageBitmap(content)
  try {
    let scale = Math.min(1, max / Math.max(image.width, image.height))
    let smaller = scale === 1 ? content : await paint(image, scale, content.type)
    while (smaller.size > BYTES_MAX) {
      scale *= Math.min(0.9, Math.sqrt(BYTES_MAX / smaller.size))
      smaller = await paint(image, scale, content.type)
    }
    return smaller
  } finally {
    image.close()
  }
}

export function paint(
  image: CanvasImageSource & { width: number; height: number },
  scale: number,
  type: string
): Promise<Blob> {
  const canvas = document.createElement('canvas')
  canvas.width = Math.max(1, Math.round(image.width * scale))
  canvas.height = Math.max(1, Math.round(image.height * scale))
  const context = canvas.getContext('2d')
  if (context) context.imageSmoothingQuality = 'high'
  context?.drawImage(image, 0, 0, canvas.width, canvas.height)
  return new Promise((resolve, reject) =>
    // Kinds that the browser does not write become PNG.
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the image cannot be painted'))), type)
  )
}

/** What both packages export, as far as Excalidraw calls it. */
export default function reducer(): { toBlob: typeof shrink } {
  return { toBlob: shrink }
}
