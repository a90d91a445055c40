// Package forge talks to the forge that hosts a repository, GitHub or Gitea:
// commit statuses, and how two commits stand to each other.
//
// It takes the address of an API, a repository and a token, and gives a
// [Client]. Everything it does is limited in time and size, no redirect is
// followed with the token, and its errors name the permission to add and hold no
// secret: the texts of the forge are redacted and sanitised. No verdict may depend
// on a forge being up, so that callers turn its errors into warnings.
//
// Where the two forges differ (as tried on Gitea 1.26):
//
//	                     GitHub                          Gitea
//	address              https://api.github.com          https://host/api/v1
//	a commit             /commits/{sha}                  /git/commits/{sha}
//	order of commits     /compare/{base}...{head}        /commits?sha=…&not=…, both ways
//	unknown commit       422                             500
//	status' description  at most 140 characters          any length
package forge
