package main

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spiffe/spire/pkg/common/diskcertmanager"
	"github.com/spiffe/spire/pkg/common/pemutil"
	"github.com/spiffe/spire/pkg/common/x509util"
	"github.com/spiffe/spire/pkg/server/endpoints/bundle"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// serverSVID is what SPIRE's server shows.
func (d *domain) serverSVID() ([]*x509.Certificate, crypto.PrivateKey, error) {
	state := d.server.State()
	return state.SVID, state.Key, nil
}

// endpointAuth is the profile of the bundle endpoint: https_spiffe, or https_web with a certificate in a file.
func (d *domain) endpointAuth(s settings, log *logrus.Logger) (bundle.ServerAuth, error) {
	if s.web == "" {
		return bundle.SPIFFEAuth(d.serverSVID), nil
	}
	key, err := keyType.GenerateSigner()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: s.web}, DNSNames: []string{s.web},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509util.CreateCertificate(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := pemutil.EncodePKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	files := &diskcertmanager.Config{CertFilePath: filepath.Join(s.folder, "web.pem"),
		KeyFilePath: filepath.Join(s.folder, "web.key"), FileSyncInterval: time.Hour}
	if err := errors.Join(
		os.WriteFile(files.CertFilePath, pemutil.EncodeCertificates([]*x509.Certificate{cert}), 0o600),
		os.WriteFile(files.KeyFilePath, secret, 0o600)); err != nil {
		return nil, err
	}
	return diskcertmanager.New(files, nil, log)
}

// serveAPI answers at an address as the port of the server's API does to one who takes it for the bundle endpoint: with
// the same SVID, and in gRPC only.
func serveAPI(address string, auth bundle.ServerAuth, log *logrus.Logger) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(auth.GetTLSConfig())))
	go func() { log.Fatal(server.Serve(listener)) }()
	return nil
}
