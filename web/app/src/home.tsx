import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Home } from './home/Home.tsx'
import './tokens.css'
import './controls.css'
import './home/home.css'

const root = document.getElementById('root')
if (root)
  createRoot(root).render(
    <StrictMode>
      <Home />
    </StrictMode>
  )
