package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program prints spans and metrics. With -h it prints its help.
func TestOtel_printsSpansAndMetrics(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "otel")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	cmd := exec.Command(binary)
	cmd.Env = []string{"HOME=" + os.TempDir()}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "appsandbooks.pause") || !strings.Contains(string(out), `"assign"`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = exec.Command(binary, "-h").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "WithTrace") {
		t.Errorf("-h: %v\n%s", err, out)
	}
}
