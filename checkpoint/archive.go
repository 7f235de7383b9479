// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/partition"
)

// An archive is a savepoint with everything that belongs to it, as one tar stream: first the document below, then each
// object once, named objects/<sha256>.

const (
	archiveDocument = "savepoint.json"
	archiveObjects  = "objects/"
	// maxArchiveDocument bounds the document, which holds all manifests.
	maxArchiveDocument = 256 << 20
)

// archived is the content of an archive's document.
type archived struct {
	Application Application `json:"application"`
	Savepoint   Savepoint   `json:"savepoint"`
	Manifests   []Manifest  `json:"manifests"`
	Channels    []Channel   `json:"channels,omitempty"`
}

func (a archived) validate() error {
	if len(a.Manifests) == 0 {
		return errors.New("it holds no checkpoint")
	}
	if err := a.Savepoint.validate(); err != nil {
		return err
	}
	if err := a.Application.validate(); err != nil {
		return err
	}
	tasks := map[partition.TaskID]bool{}
	for _, m := range a.Manifests {
		if err := m.validate(); err != nil {
			return err
		}
		if m.Round != a.Savepoint.Round || m.Incarnation != a.Application.Incarnation {
			return fmt.Errorf("its manifest of task %v is of round %d, life %d", m.Task, m.Round, m.Incarnation)
		}
		if tasks[m.Task] {
			return fmt.Errorf("it has two manifests of task %v", m.Task)
		}
		tasks[m.Task] = true
	}
	if err := validateChannels(a.Channels); err != nil {
		return err
	}
	sizes := map[string]int64{}
	for _, f := range a.allFiles() {
		if size, known := sizes[f.SHA256]; known && size != f.Size {
			return fmt.Errorf("object %s has both %d and %d bytes", f.SHA256, size, f.Size)
		}
		sizes[f.SHA256] = f.Size
	}
	return nil
}

func (a archived) allFiles() (files []File) {
	for _, m := range a.Manifests {
		files = append(files, m.Files...)
	}
	return append(files, filesOfChannels(a.Channels)...)
}

// files returns every distinct content, by its hash.
func (a archived) files() map[string]File {
	files := map[string]File{}
	for _, f := range a.allFiles() {
		files[f.SHA256] = f
	}
	return files
}

// Export writes a savepoint with all its objects to w. Every object is verified; progress, if not nil, is told how many
// bytes are written of how many. An archive that was not written to its end is refused by Import.
func (r *Repository) Export(ctx context.Context, incarnation int, name string, w io.Writer, progress func(done, all int64)) error {
	if err := r.export(ctx, incarnation, name, w, progress); err != nil {
		return fmt.Errorf("export savepoint %s of application %s: %w", name, r.app, err)
	}
	return nil
}

func (r *Repository) export(ctx context.Context, incarnation int, name string, w io.Writer, progress func(done, all int64)) error {
	a := archived{}
	var err error
	if a.Application, err = r.LoadLife(ctx, incarnation); err != nil {
		return err
	}
	saved, err := r.Savepoints(ctx, incarnation)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(saved, func(s Savepoint) bool { return s.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: there is no such savepoint in life %d", ErrMissing, incarnation)
	}
	a.Savepoint = saved[i]
	cut, err := r.LoadCut(ctx, incarnation, a.Savepoint.Round)
	if err != nil {
		return err
	}
	a.Manifests, a.Channels = cut.Manifests, cut.Channels
	document, _, err := encode(kindArchive, a)
	if err != nil {
		return err
	}
	if len(document) > maxArchiveDocument {
		return fmt.Errorf("%w: its manifests have %d bytes together, more than %d", ErrInvalid, len(document), maxArchiveDocument)
	}
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Name: archiveDocument, Mode: 0o644, Size: int64(len(document))}); err != nil {
		return err
	}
	if _, err := tw.Write(document); err != nil {
		return err
	}
	files := slices.SortedFunc(maps.Values(a.files()), func(a, b File) int { return strings.Compare(a.SHA256, b.SHA256) })
	all, done := int64(0), int64(0)
	for _, f := range files {
		all += f.Size
	}
	for _, f := range files {
		if err := r.exportFile(ctx, tw, f); err != nil {
			return err
		}
		if done += f.Size; progress != nil {
			progress(done, all)
		}
	}
	return tw.Close()
}

// exportFile goes through a local file, so that what is written to the archive is whole.
func (r *Repository) exportFile(ctx context.Context, tw *tar.Writer, f File) error {
	temp, err := os.CreateTemp("", "streamd-export-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := r.readVerified(ctx, f, temp); err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: archiveObjects + f.SHA256, Mode: 0o644, Size: f.Size}); err != nil {
		return err
	}
	_, err = io.CopyBuffer(tw, io.NewSectionReader(temp, 0, f.Size), make([]byte, copyBufferBytes))
	return err
}

// Import reads an archive and stores the savepoint under this application's name, in the life that it has in the archive.
// The application must be new to the store, or have been imported from the same archive before, unfinished. An archive that
// is cut short, or holds anything that does not belong to it, is ErrCorrupt.
func (r *Repository) Import(ctx context.Context, archive io.Reader) (Savepoint, error) {
	a, err := r.importArchive(ctx, tar.NewReader(archive))
	if err != nil {
		return Savepoint{}, fmt.Errorf("import a savepoint into application %s: %w", r.app, err)
	}
	return a.Savepoint, nil
}

func (r *Repository) importArchive(ctx context.Context, tr *tar.Reader) (archived, error) {
	a, err := readArchiveDocument(tr)
	if err != nil {
		return a, err
	}
	l, err := r.life(a.Application.Incarnation)
	if err != nil {
		return a, err
	}
	if err := r.importApplication(ctx, a); err != nil {
		return a, err
	}
	began := time.Now()
	objects, err := r.importObjects(ctx, l, tr, a)
	if err != nil {
		return a, err
	}
	return a, r.importRound(ctx, l, a, imported{objects, began})
}

// imported are the objects of an archive as they are in the store, by hash, and when the first was sent.
type imported struct {
	objects map[string]string
	began   time.Time
}

func readArchiveDocument(tr *tar.Reader) (a archived, err error) {
	header, err := tr.Next()
	if err != nil || header.Name != archiveDocument || header.Size > maxArchiveDocument {
		return a, fmt.Errorf("%w: it is no archive of a savepoint: it does not begin with %s", ErrCorrupt, archiveDocument)
	}
	document, err := io.ReadAll(tr)
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if _, err := decode(kindArchive, document, &a); err != nil {
		return a, err
	}
	return a, nil
}

// importApplication makes the record of the life, and of those before it: lives are numbered without gaps.
func (r *Repository) importApplication(ctx context.Context, a archived) error {
	for n := 1; n <= a.Application.Incarnation; n++ {
		rec := a.Application
		rec.App, rec.Incarnation = r.app, n
		rec.Outputs.Muted = true // only what is begun from it writes anything
		standing, _, err := r.CreateApplication(ctx, rec)
		if err != nil {
			return err
		}
		if !standing.Created.Equal(rec.Created) || standing.Fingerprint != rec.Fingerprint {
			return fmt.Errorf("%w: the store has an application of this name already; import it under another", ErrInvalid)
		}
	}
	return nil
}

// importObjects stores the contents of an archive and returns their names by hash.
func (r *Repository) importObjects(ctx context.Context, l life, tr *tar.Reader, a archived) (map[string]string, error) {
	wanted, names := a.files(), map[string]string{}
	s := r.newSender(l, "import", a.Savepoint.Round)
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		sum, ok := strings.CutPrefix(header.Name, archiveObjects)
		f, known := wanted[sum]
		if !ok || !known || header.Size != f.Size || names[sum] != "" {
			return nil, fmt.Errorf("%w: %.100q does not belong to the savepoint", ErrCorrupt, header.Name)
		}
		names[sum] = l.object(s.generation, s.round, s.attempt, sum)
		if err := r.importObject(ctx, names[sum], tr, f); err != nil {
			return nil, err
		}
	}
	if missing := len(wanted) - len(names); missing > 0 {
		return nil, fmt.Errorf("%w: it ends before %d of %d objects", ErrCorrupt, missing, len(wanted))
	}
	return names, nil
}

func (r *Repository) importObject(ctx context.Context, name string, content io.Reader, f File) error {
	temp, err := os.CreateTemp("", "streamd-import-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(temp, hash), content, make([]byte, copyBufferBytes))
	if err != nil {
		return fmt.Errorf("%w: object %s: %w", ErrCorrupt, f.SHA256, err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); n != f.Size || sum != f.SHA256 {
		return fmt.Errorf("%w: object %s has %d bytes of SHA-256 %s", ErrCorrupt, f.SHA256, n, sum)
	}
	return r.store.Put(ctx, name, io.NewSectionReader(temp, 0, f.Size))
}

// importRound makes the round and its savepoint.
func (r *Repository) importRound(ctx context.Context, l life, a archived, in imported) error {
	if _, err := r.StartRound(ctx, l.incarnation, a.Savepoint.Round, GoOn); err != nil {
		return err
	}
	stored := make([]Manifest, len(a.Manifests))
	for i, m := range a.Manifests {
		m.App = r.app
		for i := range m.Files {
			m.Files[i].Object = in.objects[m.Files[i].SHA256]
		}
		var err error
		if stored[i], err = r.createManifest(ctx, l, m, in.began); err != nil {
			return err
		}
	}
	for i := range a.Channels {
		a.Channels[i].File.Object = in.objects[a.Channels[i].File.SHA256]
	}
	if err := r.createRecord(ctx, l, newRoundRecord(a.Savepoint.Round, stored, a.Channels), in.began); err != nil {
		return err
	}
	return r.CreateSavepoint(ctx, l.incarnation, a.Savepoint)
}
