package app

import (
	"io"
	"log/slog"
)

// quiet is the logger of short-lived work whose errors are returned anyway.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))
