package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func TestConfig(t *testing.T) {
	base := "id: zhenglian_1:00\nlisten: 127.0.0.1:9999\ngenesis_digest: " + model.DigestOf(nil).String() + "\n"
	secure := "tls: {cert: c.pem, key: k.pem}\n"
	for name, tt := range map[string]struct {
		file string
		env  map[string]string
		want string // part of the error; "" for none
	}{
		"tls":                 {base + secure, nil, ""},
		"insecure":            {base + "insecure: true\n", nil, ""},
		"neither":             {base, nil, "tls.cert and tls.key are needed"},
		"both":                {base + secure + "insecure: true\n", nil, "leave out one"},
		"insecure beyond":     {strings.Replace(base, "127.0.0.1", "0.0.0.0", 1) + "insecure: true\n", nil, "only for a loopback"},
		"anyone beyond":       {strings.Replace(base, "127.0.0.1", "0.0.0.0", 1) + secure, nil, "client_roots"},
		"admin beyond":        {base + "insecure: true\nadmin: 0.0.0.0:1\n", nil, "beyond this machine"},
		"admin with tls":      {base + secure + "admin: 0.0.0.0:1\n", nil, ""},
		"unknown key":         {base + secure + "lissten: x\n", nil, "lissten"},
		"unknown inner key":   {base + "tls: {cert: a, key: b, roots: c}\n", nil, "roots"},
		"no id":               {strings.Replace(base, "zhenglian_1:00", "", 1) + secure, nil, "CHAINCODE_ID"},
		"id from environment": {strings.Replace(base, "zhenglian_1:00", "", 1) + secure, map[string]string{"CHAINCODE_ID": "a:b"}, ""},
		"address":             {base + secure, map[string]string{"CHAINCODE_SERVER_ADDRESS": "nowhere"}, "CHAINCODE_SERVER_ADDRESS"},
		"tls from env":        {base, map[string]string{"CHAINCODE_TLS_CERT": "a", "CHAINCODE_TLS_KEY": "b", "CHAINCODE_CLIENT_CA_CERT": "c"}, ""},
		"disabled":            {base, map[string]string{"CHAINCODE_TLS_DISABLED": "true"}, ""},
		"disabled?":           {base, map[string]string{"CHAINCODE_TLS_DISABLED": "maybe"}, "true or false"},
		"digest":              {strings.Replace(base, "genesis_digest: ", "genesis_digest: x", 1) + secure, nil, "64 hexadecimal"},
		"import_from":         {base + secure + "import_from: 12\n", nil, "import_from"},
		"import_from right":   {base + secure + "import_from: " + model.DigestOf(nil).String() + "\n", nil, ""},
		"stop_within":         {base + secure + "stop_within: -1s\n", nil, "negative"},
		"log level":           {base + secure + "log_level: loud\n", nil, "log_level"},
		"empty":               {"", nil, "id is"},
	} {
		_, err := parseConfig([]byte(tt.file), func(k string) string { return tt.env[k] })
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The operators' page has every key.
func TestKeysDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ops", "zl-chaincode.md"))
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	var look func(of reflect.Type, above string)
	look = func(of reflect.Type, above string) {
		for f := range of.Fields() {
			key := f.Tag.Get("yaml")
			if key == "" {
				continue
			}
			if f.Type.Kind() == reflect.Struct {
				look(f.Type, key+".")
				continue
			}
			if keys++; !strings.Contains(string(page), "`"+above+key+"`") {
				t.Errorf("%s stands nowhere in the page", above+key)
			}
		}
	}
	look(reflect.TypeFor[Config](), "")
	if keys < 10 {
		t.Errorf("only %d keys", keys)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("id: a:b\nlisten: 127.0.0.1:1\ninsecure: true\ngenesis_digest: " + model.DigestOf(nil).String()))
	f.Add([]byte("tls: {cert: a, key: [}"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseConfig(raw, func(string) string { return "" })
		if err == nil && c.Insecure && !loopback(c.Listen) {
			t.Fatal("insecure beyond loopback")
		}
	})
}
