"""One file per artifact; a parser knows only `casparian.api` and its format's library."""
