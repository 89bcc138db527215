import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Home } from './home/Home.tsx'
import { watchLink } from './identity.ts'
import './tokens.css'
import './controls.css'
import './home/home.css'

watchLink()
const root = document.getElementById('root')
if (root)
  createRoot(root).render(
    <StrictMode>
      <Home />
    </StrictMode>
  )
