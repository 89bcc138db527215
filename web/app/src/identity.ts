// Who sits at this browser: a token from the address, or a name kept on this device.

const NAME = 'panseo.name'
const USER = 'panseo.user'
const TOKEN = 'panseo.token'
/** Behind the name in a user id of the open mode, so that two people of one name stay two. */
const MARK = /~[0-9a-z]{4}$/

export interface Identity {
  token: string | null
  user: string
  /** What others see; empty until somebody typed it. */
  name: string
}

/** Storage may be forbidden: then it lasts as long as the page. */
const kept = new Map<string, string>()
function read(storage: 'localStorage' | 'sessionStorage', key: string): string | null {
  try {
    return window[storage].getItem(key)
  } catch {
    return kept.get(key) ?? null
  }
}
function keep(storage: 'localStorage' | 'sessionStorage', key: string, value: string): void {
  kept.set(key, value)
  try {
    window[storage].setItem(key, value)
  } catch {
    // It is in `kept`.
  }
}

function mark(): string {
  const random = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0
  return `~${(random % 36 ** 4).toString(36).padStart(4, '0')}`
}

/** The name without what keeps it apart from others. */
export function displayName(user: string): string {
  return user.replace(MARK, '')
}

export function identity(): Identity {
  const hash = new URLSearchParams(location.hash.slice(1))
  const token = hash.get('token')
  if (token) {
    keep('sessionStorage', TOKEN, token)
    hash.delete('token')
    const rest = hash.toString()
    // The token must not stay where it is copied from with the address.
    history.replaceState(null, '', location.pathname + location.search + (rest ? `#${rest}` : ''))
  }
  const named = new URLSearchParams(location.search).get('user')
  let user = named ?? read('localStorage', USER)
  if (!user) {
    user = `guest${mark()}`
    keep('localStorage', USER, user)
  }
  const name = named ? displayName(named) : (read('localStorage', NAME) ?? '')
  return { token: read('sessionStorage', TOKEN), user, name }
}

/**
 * A personal link that is opened in the place of a page differs in its hash only, so the browser loads nothing: the page
 * has to begin anew as that person. What is not sent yet is kept for the one before, or the browser asks first.
 */
export function watchLink(): void {
  addEventListener('hashchange', () => {
    if (!new URLSearchParams(location.hash.slice(1)).has('token')) return
    identity()
    location.reload()
  })
}

/** Takes a name; edits made before stay the guest's. */
export function rename(name: string): Identity {
  const clean = name.replace(/[\p{C}~]/gu, '').trim()
  // An id may have 64 bytes, and Hangul takes three a letter.
  let short = clean
  while (new TextEncoder().encode(short).length > 56) short = [...short].slice(0, -1).join('')
  const now = identity()
  if (short && short !== now.name) {
    keep('localStorage', NAME, short)
    keep('localStorage', USER, short + mark())
  }
  return identity()
}
