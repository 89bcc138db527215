// Excalidraw asks for this when somebody pastes text that looks like Mermaid; refused, it stays text.
export async function parseMermaidToExcalidraw() {
  throw new Error('Mermaid diagrams are not supported here')
}
