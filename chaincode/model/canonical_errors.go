package model

import (
	"encoding/json"
	"errors"
	"strings"
)

// jsonError gives encoding/json's complaint its code. The offending value is never repeated.
func jsonError(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var ut *json.UnmarshalTypeError
	if errors.As(err, &ut) {
		return E(CodeWrongType, ut.Field)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		if len(name) > 64 {
			name = "?"
		}
		return E(CodeUnknownField, name)
	}
	return E(CodeInvalidJSON)
}
