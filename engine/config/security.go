// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Mechanism is a way to authenticate to brokers.
type Mechanism string

// The mechanisms of SASL.
const (
	SASLNone        Mechanism = "none"
	SASLPlain       Mechanism = "plain"
	SASLScram256    Mechanism = "scram-sha-256"
	SASLScram512    Mechanism = "scram-sha-512"
	SASLOAuthBearer Mechanism = "oauthbearer"
	SASLAWS         Mechanism = "aws-msk-iam"
)

// SASLMechanisms are the words that sasl.mechanism takes.
func SASLMechanisms() []string {
	return []string{string(SASLNone), string(SASLPlain), string(SASLScram256), string(SASLScram512), string(SASLOAuthBearer), string(SASLAWS)}
}

// Mechanism is sasl.mechanism; SASLNone where it is empty.
func (c *Config) Mechanism() Mechanism {
	if c.SASLMechanism == "" {
		return SASLNone
	}
	return Mechanism(c.SASLMechanism)
}

func (v *validator) security() {
	v.tls()
	v.atLeast("authentication.timeout", v.c.AuthenticationTimeout, time.Second)
	m := v.c.Mechanism()
	v.saslSettings(m)
	switch m {
	case SASLPlain, SASLScram256, SASLScram512:
		if v.c.SASLUser == "" {
			v.bad("sasl.user", "sasl.mechanism %s needs a user", m)
		}
		if v.c.SASLPasswordFile == "" {
			v.bad("sasl.password-file", "sasl.mechanism %s needs a file that holds the password", m)
		}
	case SASLOAuthBearer:
		v.oauth()
	case SASLAWS:
		if !v.c.TLS {
			v.bad("sasl.mechanism", "aws-msk-iam is spoken over TLS only: set tls.enabled")
		}
	}
	if (m == SASLPlain || m == SASLOAuthBearer) && !v.c.TLS && !v.c.Insecure && slices.ContainsFunc(v.c.Brokers, isRemote) {
		v.bad("sasl.mechanism", "%s would send the secret over the network in the clear: set tls.enabled, use scram-sha-512, or allow it by --insecure", m)
	}
}

func (v *validator) tls() {
	c := v.c
	for _, f := range []struct{ name, path string }{{"tls.ca-file", c.TLSCAFile}, {"tls.cert-file", c.TLSCertFile}, {"tls.key-file", c.TLSKeyFile}} {
		v.file(f.name, f.path)
		if f.path != "" && !c.TLS {
			v.bad(f.name, "it is set, but tls.enabled is false")
		}
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		v.bad("tls.cert-file", "a client certificate needs both tls.cert-file and tls.key-file")
	}
}

// saslSettings refuses settings that the mechanism has no use for: whoever has set them expects something else.
func (v *validator) saslSettings(m Mechanism) {
	c := v.c
	password, token := []Mechanism{SASLPlain, SASLScram256, SASLScram512}, []Mechanism{SASLOAuthBearer}
	for _, s := range []struct {
		name string
		set  bool
		of   []Mechanism
	}{
		{"sasl.user", c.SASLUser != "", password},
		{"sasl.password-file", c.SASLPasswordFile != "", password},
		{"sasl.token-file", c.SASLTokenFile != "", token},
		{"sasl.oauth-token-url", c.SASLTokenURL != "", token},
		{"sasl.oauth-client-id", c.SASLClientID != "", token},
		{"sasl.oauth-client-secret-file", c.SASLClientSecretFile != "", token},
		{"sasl.oauth-scopes", len(c.SASLScopes) > 0, token},
		{"sasl.extensions", len(c.SASLExtensions) > 0, token},
	} {
		if s.set && !slices.Contains(s.of, m) {
			v.bad(s.name, "it is set, but sasl.mechanism is %s: it is for %s", m, orList(s.of))
		}
	}
	v.file("sasl.password-file", c.SASLPasswordFile)
	v.file("sasl.token-file", c.SASLTokenFile)
	v.file("sasl.oauth-client-secret-file", c.SASLClientSecretFile)
}

func orList(ms []Mechanism) string {
	words := make([]string, len(ms))
	for i, m := range ms {
		words[i] = string(m)
	}
	if n := len(words) - 1; n > 0 {
		return strings.Join(words[:n], ", ") + " and " + words[n]
	}
	return words[0]
}

func (v *validator) oauth() {
	c := v.c
	switch {
	case (c.SASLTokenFile == "") == (c.SASLTokenURL == ""):
		v.bad("sasl.mechanism", "oauthbearer needs either sasl.token-file or sasl.oauth-token-url")
	case c.SASLTokenFile != "" && (c.SASLClientID != "" || c.SASLClientSecretFile != "" || len(c.SASLScopes) > 0):
		v.bad("sasl.token-file", "the token comes from the file, so there is no use for the client id, secret and scopes of sasl.oauth-token-url")
	case c.SASLTokenURL != "":
		v.tokenURL()
		if c.SASLClientID == "" {
			v.bad("sasl.oauth-client-id", "sasl.oauth-token-url needs a client id")
		}
		if c.SASLClientSecretFile == "" {
			v.bad("sasl.oauth-client-secret-file", "sasl.oauth-token-url needs a file that holds the client secret")
		}
	}
	for _, e := range c.SASLExtensions {
		if !extension.MatchString(e) || strings.HasPrefix(e, "auth=") {
			v.bad("sasl.extensions", "%q is not name=value: the name has letters only and is not auth, the value has printable characters only", e)
		}
	}
}

// extension is what RFC 7628 calls a key/value pair, on one line.
var extension = regexp.MustCompile(`^[A-Za-z]+=[\x20-\x7e]*$`)

func (v *validator) tokenURL() {
	u, err := url.Parse(v.c.SASLTokenURL)
	switch {
	case err != nil || u.Host == "":
		v.bad("sasl.oauth-token-url", "it is not the URL of a server") // the text may hold a secret: it is not repeated
	case u.User != nil:
		v.bad("sasl.oauth-token-url", "credentials do not belong in the URL: use sasl.oauth-client-id and sasl.oauth-client-secret-file")
	case u.Scheme == "http" && !isRemoteHost(u.Hostname()):
	case u.Scheme != "https":
		v.bad("sasl.oauth-token-url", "the client secret would go over the network in the clear: use https")
	}
}
