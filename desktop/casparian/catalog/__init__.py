"""The query catalog: stable view names over what is committed, guarded sessions, pages and exports."""
