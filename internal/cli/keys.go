package cli

import (
	"strings"

	"git.moleculesai.app/molecule-ai/canary-verify/ledger"
	"git.moleculesai.app/molecule-ai/canary-verify/secret"
)

// maxKeysFile bounds a file of public keys, in bytes; one takes about 200.
const maxKeysFile = 1 << 20

// signer reads the key that signs records; nil: there is none, or it is invalid.
func (v *values) signer() *ledger.Signer {
	key := v.secret("signing-key")
	if key.IsZero() {
		return nil
	}
	signer, err := ledger.ParseSigner(key, v.secret("signing-key-password"))
	v.invalidPlan(err)
	return signer
}

// trust reads whose records count. trusted-keys is text in PEM, or else the path of
// a file with it.
func (c *Command) trust(v *values) ledger.Trust {
	text := v.text("trusted-keys")
	trust := ledger.Trust{RequireSigned: text != ""}
	if v.given("require-signed") {
		trust.RequireSigned = v.boolean("require-signed")
	}
	if text == "" {
		return trust
	}
	if !strings.Contains(text, "-----BEGIN") {
		data, err := c.readFile(text, maxKeysFile)
		if err != nil {
			v.reject("trusted-keys", "%q is neither a key in PEM nor a file that can be read: %v", shown(text), err)
			return trust
		}
		text = string(data)
	}
	keys, err := ledger.ParseTrustedKeys(text)
	v.invalidPlan(err)
	trust.Keys = keys
	return trust
}

// keyLines are the lines of a private key that nobody may see. Those that say what
// it is are no secret, and to hide them would make every public key unreadable.
func keyLines(key secret.Value) []secret.Value {
	var lines []secret.Value
	for line := range strings.Lines(key.Reveal()) {
		line = strings.TrimSpace(line)
		if len(line) >= minSecret && !strings.HasPrefix(line, "-----") {
			lines = append(lines, secret.New(line))
		}
	}
	return lines
}
