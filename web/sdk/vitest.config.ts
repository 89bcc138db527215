import { defineConfig } from 'vitest/config'

// Every wait in the tests has its own, shorter deadline; this one is for machines with much else to do.
export default defineConfig({ test: { testTimeout: 90_000, hookTimeout: 60_000 } })
