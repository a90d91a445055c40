// Package cli is what users touch: the one table of inputs, the commands of the
// command line, and the front end for runners of GitHub and Gitea actions.
//
// It takes arguments, an environment and three streams, runs package gate, and
// gives back one of the documented exit codes. It is the only package that
// reads the environment, and the only one that speaks the Actions protocol.
package cli
