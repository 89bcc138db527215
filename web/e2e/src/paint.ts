// When a stroke that one person draws is painted on another's screen: the canvas itself is read, after each frame.

import type { Person } from './browser'

interface Probe {
  /** From where to where the stroke was seen, and when. */
  seen: [x: number, at: number][]
  made: [x: number, at: number][]
}
declare global {
  interface Window {
    probe?: Probe
  }
}

/** Begins to note the pointer of `author`, and how far to the right `watcher` sees a stroke around `y`. */
export async function watchStroke(author: Person, watcher: Person, y: number): Promise<void> {
  await author.page.evaluate(() => {
    const isFirst = window.probe === undefined
    window.probe = { seen: [], made: [] }
    if (!isFirst) return
    const note = (event: PointerEvent) =>
      window.probe?.made.push([event.clientX, performance.timeOrigin + event.timeStamp])
    window.addEventListener('pointermove', note, true)
  })
  await watcher.page.evaluate((y) => {
    const probe: Probe = (window.probe = { seen: [], made: [] })
    const canvas = document.querySelector('canvas.static') as HTMLCanvasElement
    const context = canvas.getContext('2d') as CanvasRenderingContext2D
    const [width, height] = [canvas.width, 40]
    const channel = new MessageChannel()
    // A message that is sent from the frame comes after it has been painted.
    channel.port1.onmessage = () => {
      const at = performance.timeOrigin + performance.now()
      const { data } = context.getImageData(0, y - height / 2, width, height)
      const words = new Uint32Array(data.buffer)
      for (let x = width - 1; x >= 0; x--) {
        for (let row = 0; row < height; row++) {
          const pixel = words[row * width + x] as number
          if ((pixel & 0xff) < 128 && pixel >>> 24 > 128) {
            if ((probe.seen.at(-1)?.[0] ?? -1) < x) probe.seen.push([x, at])
            return
          }
        }
      }
    }
    const frame = () => {
      if (window.probe !== probe) return
      channel.port2.postMessage(null)
      requestAnimationFrame(frame)
    }
    requestAnimationFrame(frame)
  }, y)
}

/** How long each point of the stroke took to the other screen, in ms. */
export async function reachedAt(author: Person, watcher: Person): Promise<number[]> {
  const made = await author.page.evaluate(() => window.probe?.made ?? [])
  const seen = await watcher.page.evaluate(() => window.probe?.seen ?? [])
  return made.flatMap(([x, at]) => {
    const found = seen.find(([reached]) => reached >= x)
    return found ? [found[1] - at] : []
  })
}
