// The camera's pictures, as they come.

// Start the camera, that on the back of a phone. Gives next(), a picture, and stop().
export async function startCamera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  const video = document.createElement("video");
  video.playsInline = true; // or a phone would show it in full screen
  video.muted = true;
  video.srcObject = stream;
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  try {
    await video.play();
  } catch (error) {
    stop();
    throw error;
  }
  const next = async () => {
    await new Promise(requestAnimationFrame);
    const image = await createImageBitmap(video); // the frame stays while it is looked at
    return { image, width: image.width, height: image.height, isJpeg: false };
  };
  return { next, stop };
}
