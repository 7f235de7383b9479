// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrSyntax is in every SyntaxError.
var ErrSyntax = errors.New("not a query")

// SyntaxError says what is wrong with a query, and where.
type SyntaxError struct {
	Query  string
	Offset int // in bytes
	Found  string
}

// Line and Column count from 1; a column is a character.
func (e *SyntaxError) place() (line, column int, text string) {
	before := e.Query[:e.Offset]
	start := strings.LastIndexByte(before, '\n') + 1
	text, _, _ = strings.Cut(e.Query[start:], "\n")
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1, text
}

// Unwrap returns ErrSyntax.
func (e *SyntaxError) Unwrap() error { return ErrSyntax }

// Error names the place and shows it.
func (e *SyntaxError) Error() string {
	line, column, text := e.place()
	where := fmt.Sprintf("query, column %d", column)
	if line > 1 {
		where = fmt.Sprintf("query, line %d, column %d", line, column)
	}
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string([]rune(text)[:min(column-1, utf8.RuneCountInString(text))]))
	return fmt.Sprintf("%s: %s\n  %s\n  %s^", where, e.Found, text, indent)
}

type tokenKind int

const (
	endToken tokenKind = iota
	nameToken
	quotedToken // a name in backquotes
	numberToken
	textToken
	symbolToken
)

// token is a piece of a query.
type token struct {
	kind       tokenKind
	text       string // of a name, a text or a symbol; the digits of a number
	start, end int    // in the query
}

func (t token) String() string {
	switch t.kind {
	case endToken:
		return "the end"
	case textToken:
		return "a text"
	}
	return fmt.Sprintf("%q", t.text)
}

// is says whether the token is a keyword, in any case of its letters, or a symbol.
func (t token) is(word string) bool {
	return t.kind == symbolToken && t.text == word || t.kind == nameToken && strings.EqualFold(t.text, word)
}

// lexer cuts a query into tokens.
type lexer struct {
	query string
	at    int
}

func (l *lexer) fail(offset int, format string, args ...any) error {
	return &SyntaxError{l.query, offset, fmt.Sprintf(format, args...)}
}

// symbols, longest first.
var symbols = []string{"<=", ">=", "<>", "!=", "==", ",", ".", "(", ")", "[", "]", "*", "+", "-", "/", "%", "=", "<", ">"}

func isLetter(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func (l *lexer) skipSpace() {
	for l.at < len(l.query) {
		r, n := utf8.DecodeRuneInString(l.query[l.at:])
		if !unicode.IsSpace(r) {
			return
		}
		l.at += n
	}
}

// run returns what follows as long as it is wanted.
func (l *lexer) run(want func(rune) bool) string {
	start := l.at
	for l.at < len(l.query) {
		r, n := utf8.DecodeRuneInString(l.query[l.at:])
		if !want(r) {
			break
		}
		l.at += n
	}
	return l.query[start:l.at]
}

func (l *lexer) next() (token, error) {
	l.skipSpace()
	start := l.at
	done := func(kind tokenKind, text string) (token, error) { return token{kind, text, start, l.at}, nil }
	if l.at == len(l.query) {
		return done(endToken, "")
	}
	r, _ := utf8.DecodeRuneInString(l.query[l.at:])
	switch {
	case isLetter(r):
		return done(nameToken, l.run(func(r rune) bool { return isLetter(r) || unicode.IsDigit(r) }))
	case r >= '0' && r <= '9':
		return done(numberToken, l.number())
	case r == '\'' || r == '"':
		text, err := l.quoted(byte(r), "text")
		if err != nil {
			return token{}, err
		}
		return done(textToken, text)
	case r == '`':
		text, err := l.quoted('`', "name")
		if err != nil {
			return token{}, err
		}
		return done(quotedToken, text)
	}
	for _, s := range symbols {
		if strings.HasPrefix(l.query[l.at:], s) {
			l.at += len(s)
			return done(symbolToken, s)
		}
	}
	return token{}, l.fail(start, "%q is not a part of this language", r)
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func (l *lexer) number() string {
	start := l.at
	l.run(isDigit)
	if rest := l.query[l.at:]; len(rest) > 1 && rest[0] == '.' && isDigit(rune(rest[1])) {
		l.at++
		l.run(isDigit)
	}
	if rest := l.query[l.at:]; rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		mark := l.at
		l.at++
		if rest = l.query[l.at:]; rest != "" && (rest[0] == '+' || rest[0] == '-') {
			l.at++
		}
		if l.run(isDigit) == "" {
			l.at = mark
		}
	}
	return l.query[start:l.at]
}

// quoted reads what stands between two marks; a mark within is written twice.
func (l *lexer) quoted(mark byte, what string) (string, error) {
	start := l.at
	l.at++
	var b strings.Builder
	for {
		i := strings.IndexByte(l.query[l.at:], mark)
		if i < 0 {
			return "", l.fail(start, "the %s that begins here has no end: close it with %c", what, mark)
		}
		b.WriteString(l.query[l.at : l.at+i])
		l.at += i + 1
		if l.at == len(l.query) || l.query[l.at] != mark {
			return b.String(), nil
		}
		b.WriteByte(mark)
		l.at++
	}
}

// storeName reads the name of a store, which may have dots and dashes, or stand in quotation marks of any kind.
func (l *lexer) storeName() (token, error) {
	l.skipSpace()
	start := l.at
	name := l.run(func(r rune) bool { return isLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-.", r) })
	if name != "" {
		return token{nameToken, name, start, l.at}, nil
	}
	t, err := l.next()
	if err == nil && t.kind != textToken && t.kind != quotedToken {
		err = l.fail(t.start, "expected the name of a store after FROM, found %v", t)
	}
	return t, err
}
