// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Secret is a value that must not be printed: in every format verb, in JSON and in YAML it is [redacted].
type Secret struct{ value string }

const redacted = "[redacted]"

// maxSecretBytes bounds what is read from a secret's file, which may be a wrong path.
const maxSecretBytes = 64 << 10

// ReadSecret reads a secret from a file. A line break at the end is not part of it.
func ReadSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return Secret{}, fmt.Errorf("read secret: %w", err)
	}
	if len(b) > maxSecretBytes {
		return Secret{}, fmt.Errorf("read secret %s: the file is larger than %d bytes, so it is not a secret", path, maxSecretBytes)
	}
	v := strings.TrimRight(string(b), "\r\n")
	if v == "" {
		return Secret{}, fmt.Errorf("read secret %s: %w", path, errEmptySecret)
	}
	return Secret{v}, nil
}

var errEmptySecret = errors.New("the file is empty")

// Reveal returns the secret itself, for the one call that needs it.
func (s Secret) Reveal() string { return s.value }

// String returns [redacted].
func (s Secret) String() string { return redacted }

// Format prints [redacted] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText gives [redacted] to every encoder of text, JSON and YAML among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON gives "[redacted]".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// SASLPassword reads the password of the SASL user from its file.
func (c *Config) SASLPassword() (Secret, error) {
	return ofSetting("sasl.password-file", c.SASLPasswordFile)
}

// SASLToken reads the OAuth token from its file.
func (c *Config) SASLToken() (Secret, error) { return ofSetting("sasl.token-file", c.SASLTokenFile) }

// SASLClientSecret reads the secret for the token endpoint from its file.
func (c *Config) SASLClientSecret() (Secret, error) {
	return ofSetting("sasl.oauth-client-secret-file", c.SASLClientSecretFile)
}

func ofSetting(name, path string) (Secret, error) {
	s, err := ReadSecret(path)
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}
