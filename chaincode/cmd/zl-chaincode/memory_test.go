package main

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What an operator set in the environment stays.
func TestCollectGarbage(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	for _, tt := range []struct {
		env     map[string]string
		percent int
		limit   int64
	}{
		{nil, 300, memoryLimit},
		{map[string]string{"GOGC": "100"}, 100, memoryLimit},
		{map[string]string{"GOMEMLIMIT": "1GiB"}, 300, math.MaxInt64},
		{map[string]string{"GOGC": "off", "GOMEMLIMIT": "off"}, 100, math.MaxInt64},
	} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
		collectGarbage(func(name string) string { return tt.env[name] })
		if limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100); percent != tt.percent || limit != tt.limit {
			t.Errorf("%v: %d %%, %d bytes", tt.env, percent, limit)
		}
	}
}

// The limit lies clearly below the one at which the manifests have the program killed.
func TestMemoryLimit(t *testing.T) {
	type resources struct{ Limits struct{ Memory string } }
	for _, file := range []string{"compose/compose.yaml", "kustomize/chaincode/chaincode.yaml"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "..", "network", "deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		limits := 0
		check := func(r resources) {
			// 512M of Compose and 512Mi of Kubernetes are the same mebibytes.
			n, err := strconv.ParseInt(strings.TrimRight(r.Limits.Memory, "Mi"), 10, 64)
			if limits++; err != nil || memoryLimit > n<<20*3/4 {
				t.Errorf("%s: killed at %q, and kept under %d bytes", file, r.Limits.Memory, memoryLimit)
			}
		}
		for d := yaml.NewDecoder(bytes.NewReader(raw)); ; {
			var doc struct {
				Services map[string]struct{ Deploy struct{ Resources resources } }
				Spec     struct {
					Template struct {
						Spec struct {
							Containers []struct{ Resources resources }
						}
					}
				}
			}
			if err := d.Decode(&doc); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for name, s := range doc.Services {
				if strings.HasPrefix(name, "zl-chaincode") {
					check(s.Deploy.Resources)
				}
			}
			for _, c := range doc.Spec.Template.Spec.Containers {
				check(c.Resources)
			}
		}
		if limits == 0 {
			t.Errorf("%s limits no zl-chaincode", file)
		}
	}
}
