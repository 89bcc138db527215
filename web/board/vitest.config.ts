import { defineConfig } from 'vitest/config'

// Property tests run many seeds; the machine may be busy.
export default defineConfig({ test: { testTimeout: 30_000 } })
