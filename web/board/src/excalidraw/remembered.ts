// What this browser remembers of one's taste, on all boards.

import { restoreLibraryItems } from '@excalidraw/excalidraw'
import type { LibraryItems } from '@excalidraw/excalidraw/types'

const THEME_KEY = 'panseo.theme'
const LIBRARY_KEY = 'panseo.library'

export function rememberedTheme(): 'light' | 'dark' {
  const kept = remembered(THEME_KEY)
  if (kept === 'dark' || kept === 'light') return kept
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
}

export function rememberTheme(theme: string): void {
  remember(THEME_KEY, theme)
}

export function rememberedLibrary(): LibraryItems {
  try {
    return restoreLibraryItems(JSON.parse(remembered(LIBRARY_KEY) ?? '[]') as LibraryItems, 'unpublished')
  } catch {
    return []
  }
}

export function rememberLibrary(items: LibraryItems): void {
  remember(LIBRARY_KEY, JSON.stringify(items))
}

function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    // No storage here.
    return null
  }
}

function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    // Only remembered where that is allowed.
  }
}
