import { defineConfig } from 'vitest/config'

// Not that of the site: tests need no build.
export default defineConfig({})
