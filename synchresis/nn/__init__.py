"""Plain torch modules with the published key names. Imports torch; nothing here reads files."""
