package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
)

// maxStateFile bounds the file, in bytes; an image takes about 300.
const maxStateFile = 1 << 20

// A stateFile is a [ledger.Witness] in a file: a JSON object of the newest heads by
// target and image. It belongs to one host.
type stateFile struct{ path, target string }

// Read returns the heads of the target; none where there is no file yet.
func (f *stateFile) Read(context.Context) (map[string]ledger.Seen, error) {
	all, err := f.load()
	return all[f.target], err
}

// Tell adds newer heads. The file is replaced whole, so that a crash leaves either
// the old one or the new one.
func (f *stateFile) Tell(_ context.Context, newer map[string]ledger.Seen) error {
	all, err := f.load()
	if err != nil {
		return err
	}
	seen := maps.Clone(all[f.target])
	if seen == nil {
		seen = map[string]ledger.Seen{}
	}
	for image, heads := range newer {
		seen[image] = ledger.Seen{Go: newest(seen[image].Go, heads.Go), Stop: newest(seen[image].Stop, heads.Stop)}
	}
	if maps.Equal(seen, all[f.target]) {
		return nil
	}
	all[f.target] = seen
	data, err := json.Marshal(all)
	if err == nil {
		err = f.replace(append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("the state file %q can't be written: %w", shown(f.path), plain(err))
	}
	return nil
}

func newest(known, read ledger.Ref) ledger.Ref {
	if read.Seq < known.Seq {
		return known
	}
	return read
}

// load reads the file.
func (f *stateFile) load() (map[string]map[string]ledger.Seen, error) {
	all := map[string]map[string]ledger.Seen{}
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return all, nil
	case err == nil && (!info.Mode().IsRegular() || info.Size() > maxStateFile):
		err = errors.New("it is not a file of at most 1 MiB")
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(f.path)
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err == nil && all == nil {
		err = errors.New("it has no state in it; remove it to begin again")
	}
	if err != nil {
		return nil, fmt.Errorf("the state file %q can't be read: %w", shown(f.path), plain(err))
	}
	return all, nil
}

// replace writes a file beside the old one and moves it there.
func (f *stateFile) replace(data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}
