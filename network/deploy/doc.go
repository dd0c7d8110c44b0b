// Package deploy holds the production manifests of one organisation that joins a consortium: a Containerfile,
// Compose files and Kustomize overlays. Its tests render them, decode them strictly into Compose's and
// Kubernetes' own types, hold them to the rules of docs/guide/deploy.en.md, and run the programs on the very
// configuration that the manifests carry. There is no code here that anybody imports.
package deploy
