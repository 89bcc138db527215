/** The colour Excalidraw gives a cursor, so that lists say the same: from a hash of the user id. */
export function colorOf(user: string): string {
  let hash = 0
  for (let index = 0; index < user.length; index++) hash = (hash << 5) - hash + user.charCodeAt(index)
  return `hsl(${(Math.abs(hash) % 37) * 10}, 100%, 83%)`
}

export function initialOf(name: string): string {
  return (String.fromCodePoint(name.trim().codePointAt(0) ?? 63) || '?').toUpperCase()
}
