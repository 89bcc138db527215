// What Excalidraw does at most so often: statistics, the search, images that lack. The build puts this in the place of two
// packages of lodash, which do far more.

/** Calls at once, then at most once in `wait` ms, with what was asked for last. */
export default function throttle<Args extends unknown[]>(
  run: (...args: Args) => void,
  wait: number,
  { trailing = true }: { trailing?: boolean } = {}
): { (...args: Args): void; cancel(): void } {
  let timer: ReturnType<typeof setTimeout> | undefined
  let last: Args | undefined
  const call = (args: Args) => {
    timer = setTimeout(() => {
      const args = last
      timer = last = undefined
      if (args) call(args)
    }, wait)
    run(...args)
  }
  const throttled = (...args: Args) => {
    if (timer === undefined) call(args)
    else if (trailing) last = args
  }
  throttled.cancel = () => {
    clearTimeout(timer)
    timer = last = undefined
  }
  return throttled
}
