// Words for people: one typed dictionary for each language.

import { createContext, useContext } from 'react'

import { en } from './en'
import { ko } from './ko'

export type Dictionary = typeof en
export type Language = 'en' | 'ko'

export const DICTIONARIES: Readonly<Record<Language, Dictionary>> = { en, ko }

/** The language to begin with: `?lang=`, else the browser's, else English. */
export function languageOf(search: string, languages: readonly string[]): Language {
  for (const tag of [new URLSearchParams(search).get('lang') ?? '', ...languages]) {
    const name = tag.slice(0, 2).toLowerCase()
    if (name === 'ko' || name === 'en') return name
  }
  return 'en'
}

/** What to say of an edit that was refused with this code. */
export function refusalOf(code: string, { refused, refusedBecause }: Dictionary): string {
  const reasons: Readonly<Record<string, string>> = refusedBecause
  return `${refused}: ${reasons[code] ?? refusedBecause.other}`
}

export const WordsContext = createContext<Dictionary>(en)

export function useWords(): Dictionary {
  return useContext(WordsContext)
}
