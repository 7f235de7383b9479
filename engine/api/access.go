// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Role says what a caller may do.
type Role string

// The roles. Each of the first three may do what the ones before it may. The package's documentation says what that is.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
	Peer     Role = "peer"
)

// ladder are the roles that include each other.
var ladder = []Role{Viewer, Operator, Admin}

// Roles returns all roles.
func Roles() []Role { return append(slices.Clone(ladder), Peer) }

// may says whether a role may use a route.
func (r Role) may(route *Route) bool {
	if r == Peer {
		return route.Peers || route.Role == Viewer
	}
	return slices.Contains(ladder, r) && slices.Index(ladder, r) >= slices.Index(ladder, route.Role)
}

// Caller is who has sent a request.
type Caller struct {
	Name string
	Role Role
	By   string // "token", "certificate", or "nothing" where nobody has to show anything
}

// grant is a line of a tokens file.
type grant struct {
	role    Role
	name    string
	hash    []byte // SHA-256 of a token; nil: it is a certificate's
	subject string // of a certificate
}

// tokenPrefix begins every token, so that one that has leaked is recognised as such.
const tokenPrefix = "streamd_"

// NewToken makes a token for the API, and the line of a tokens file that lets in who has it. The token itself is nowhere
// else: 256 random bits need no slow hash.
func NewToken(role Role, name string) (token, line string, err error) {
	if !slices.Contains(Roles(), role) {
		return "", "", fmt.Errorf("role %q is not known: use viewer, operator, admin or peer", role)
	}
	if !grantName.MatchString(name) {
		return "", "", fmt.Errorf("name %q: %w", name, errGrantName)
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	hash := sha256.Sum256([]byte(token))
	return token, fmt.Sprintf("%s %s sha256:%x", role, name, hash), nil
}

// grantName is what may stand for a caller in logs.
var (
	grantName    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,63}$`)
	errGrantName = errors.New("use up to 64 letters, digits, dots, dashes, underscores and @, beginning with a letter or digit")
	errGrant     = errors.New("expected `role name sha256:hash` or `role name cert:subject`")
)

// parseGrants reads a tokens file: a grant on each line. Empty lines and those that begin with # are skipped. Errors name
// the line and never repeat it, since it may hold a token by mistake.
func parseGrants(contents [][]byte) ([]grant, error) {
	var all []grant
	for i, line := range bytes.Split(contents[0], []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		g, err := parseGrant(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		all = append(all, g)
	}
	return all, nil
}

func parseGrant(text string) (grant, error) {
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return grant{}, errGrant
	}
	g := grant{role: Role(fields[0]), name: fields[1]}
	if !slices.Contains(Roles(), g.role) {
		return grant{}, fmt.Errorf("the role is none of viewer, operator, admin and peer: %w", errGrant)
	}
	if !grantName.MatchString(g.name) {
		return grant{}, fmt.Errorf("the name cannot be used: %w", errGrantName)
	}
	kind, value, _ := strings.Cut(fields[2], ":")
	switch kind {
	case "sha256":
		hash, err := hex.DecodeString(value)
		if err != nil || len(hash) != sha256.Size {
			return grant{}, fmt.Errorf("a hash has %d hexadecimal digits: %w", 2*sha256.Size, errGrant)
		}
		g.hash = hash
	case "cert":
		if g.subject = value; value == "" {
			return grant{}, fmt.Errorf("there is no subject: %w", errGrant)
		}
	default:
		return grant{}, errGrant
	}
	return g, nil
}

// byToken finds whose token it is. It takes the same time for every token.
func byToken(grants []grant, token string) (Caller, bool) {
	hash := sha256.Sum256([]byte(token))
	var found *grant
	for i := range grants {
		if subtle.ConstantTimeCompare(grants[i].hash, hash[:]) == 1 {
			found = &grants[i]
		}
	}
	if found == nil {
		return Caller{}, false
	}
	return Caller{Name: found.name, Role: found.role, By: "token"}, true
}

// byCertificate finds whose certificate it is. It was verified. The rest of them, if any, have a role of their own.
func byCertificate(grants []grant, cert *x509.Certificate, rest Role) (Caller, bool) {
	subjects := slices.Concat(cert.DNSNames, cert.EmailAddresses)
	for _, u := range cert.URIs {
		subjects = append(subjects, u.String())
	}
	if cert.Subject.CommonName != "" {
		subjects = append(subjects, cert.Subject.CommonName)
	}
	for _, g := range grants {
		if g.hash == nil && slices.Contains(subjects, g.subject) {
			return Caller{Name: g.name, Role: g.role, By: "certificate"}, true
		}
	}
	if !slices.Contains(ladder, rest) || len(subjects) == 0 {
		return Caller{}, false
	}
	return Caller{Name: subjects[0], Role: rest, By: "certificate"}, true
}

// parsePeerTokens reads a file of tokens by which workers know each other.
func parsePeerTokens(contents [][]byte) ([]string, error) {
	var tokens []string
	for line := range strings.Lines(string(contents[0])) {
		if line = strings.TrimSpace(line); line != "" {
			tokens = append(tokens, line)
		}
	}
	for _, t := range tokens {
		if len(t) < 16 || strings.ContainsFunc(t, notTokenRune) {
			return nil, errors.New("a token has at least 16 characters, letters, digits and any of -._~+/=: `api token new --role peer` makes one")
		}
	}
	if len(tokens) == 0 {
		return nil, errors.New("there is no token in it")
	}
	return tokens, nil
}

func notTokenRune(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/=", r))
}

// isPeer says whether a token is one of those by which workers know each other.
func isPeer(tokens []string, token string) bool {
	hash, found := sha256.Sum256([]byte(token)), 0
	for _, t := range tokens {
		own := sha256.Sum256([]byte(t))
		found |= subtle.ConstantTimeCompare(hash[:], own[:])
	}
	return found == 1
}
